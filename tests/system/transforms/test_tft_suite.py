"""TFT's own tests of its numeric analyzers, run on Fullpass's transforms."""

from __future__ import annotations

import os

import pytest

from tests.support.tft_suite import run_suite

CHOSEN = {
    "bucketize_integration_test": [
        "BucketizeIntegrationTest.testQuantilesPerKey",
        "BucketizeIntegrationTest.testBucketizationSpecificDistribution",
        "BucketizeIntegrationTest.testBucketizeCompositeInputragged",
    ],
    "tukey_hh_params_integration_test": ["TukeyHHParamsIntegrationTest.testGaussianizevector"],
    "impl_test": [
        "BeamImplTest.testIntToTFIDF",
        "BeamImplTest.testMeanAndVar",
        "BeamImplTest.testCountPerKey_string",
        "BeamImplTest.testPCAThreeToTwoDimensions",
        "BeamImplTest.testSavedModelWithAnnotations",
        "BeamImplTest.testDFIDFExperimentalNoData",
        "BeamImplTest.testNumericAnalyzersWithCompositeInputssparse_elementwise_float32",
        "BeamImplTest.testNumericAnalyzersWithEmptyInputsfloat32_ND_elementwise",
        "BeamImplTest.testMultipleLevelsOfAnalyzersNoDeepCopy",
        "BeamImplTest.testApplySavedModelWithHashTable",
        "BeamImplTest.testScaleToZScorePerKey_none_filename",
        "BeamImplTest.testHistograms_categorical_string",
        "BeamImplTest.testCovarianceTwoDimensions",
        "BeamImplTest.testPTransformAnalyzer",
    ],
}
# These fail on TFT's own transforms just so. Tukey: the parameters are searched in float32, whose arithmetic numpy 2 changed.
# testPyFuncs: "weak object has gone away", in TFT's compatibility with TensorFlow 1.
TFT_FAILS_TOO = {
    "tukey_hh_params_integration_test": ("testTukeyHHAnalyzersWith",),
    "impl_test": ("testPyFuncs",),
    "bucketize_integration_test": (),
}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("module", CHOSEN)
def test_tft_tests_pass(module: str) -> None:
    """A choice of them; all with FULLPASS_TFT_SUITE=all."""
    everything = os.environ.get("FULLPASS_TFT_SUITE") == "all"
    names = [] if everything else CHOSEN[module]
    passed, failed, output = run_suite(f"tensorflow_transform.beam.{module}", names, timeout_s=7000)
    unexpected = {name for name in failed if not name.startswith(TFT_FAILS_TOO[module])} if failed else set()
    assert not unexpected, output[-5000:]
    skipped = output.count("[  SKIPPED ]")
    assert passed + skipped >= len(CHOSEN[module])
    assert passed > skipped
