"""Passengers of a ship that never sailed: numbers, categories, times, gaps, a key and free text."""

import numpy as np
import pandas as pd


def make_passengers(rows: int = 150, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """A frame, and who survived: mostly those who are female."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["female", "male"], rows)
    age = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(30, 10, rows))
    frame = pd.DataFrame(
        {
            "Number": np.arange(1, rows + 1),
            "Name": [f"Passenger {at} of room {7 * at}" for at in range(rows)],
            "Sex": sex,
            "Age": age,
            "Class": pd.Categorical(rng.integers(1, 4, rows)),
            "Fare": rng.exponential(30, rows),
            "Port": rng.choice(["C", "Q", "S", None], rows),
            "Booked": pd.Timestamp("1911-01-01") + pd.to_timedelta(rng.integers(0, 450, rows), "D"),
        }
    )
    survived = np.where((sex == "female") ^ (rng.random(rows) < 0.1), "yes", "no")
    return frame, pd.Series(survived, name="Survived")
