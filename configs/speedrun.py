from neuroforge_jax import TrainConfig

config = TrainConfig(
    backend="mixed",
    hidden=(256,),
    batch_size=512,
    epochs=3,
    optimizer="adam",
    learning_rate=0.012,
    schedule="one-cycle",
    warmup=0.3,
    label_smoothing=0.05,
)
