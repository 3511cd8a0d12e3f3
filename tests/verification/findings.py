"""What the checks of a plugin say first."""

from neuroforge_jax.verification.findings import judge


def first_failure(claims):
    """The first finding that does not hold; what comes after it is not tried."""
    return next((finding for finding in judge(claims) if not finding.passed), None)
