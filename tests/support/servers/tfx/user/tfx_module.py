from flights_model import build_model, preprocessing_fn  # noqa: F401, the second is for TFX's Transform

from trainers.tfx import make_run_fn

run_fn = make_run_fn(build_model, label="late", global_batch_size=512)
