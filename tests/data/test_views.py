"""Principal components, whitening and spectra, beside scikit-learn, numpy and what mathematics says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from cnnatomy.data import Loading, open_source
from cnnatomy.data.inspection import views
from cnnatomy.data.inspection.gathering import gather
from cnnatomy.data.inspection.size import LookedAt, suitable_size
from cnnatomy.data.inspection.views import principal_components, spectrum, whiten


def mixed(images: int, pixels: int, seed: int = 0) -> np.ndarray:
    """Rows of correlated numbers."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(images, pixels)) @ generator.normal(size=(pixels, pixels)) + generator.normal(
        size=pixels
    )


@pytest.mark.parametrize(("images", "pixels"), [(200, 12), (12, 200)])
def test_components_are_those_of_scikit_learn(images: int, pixels: int) -> None:
    rows = mixed(images, pixels)
    ours, theirs = principal_components(rows), PCA(svd_solver="full").fit(rows)
    count = min(images - 1, pixels)
    assert len(ours.variances) == count
    assert ours.variances == pytest.approx(theirs.explained_variance_[:count])
    assert ours.cumulative == pytest.approx(np.cumsum(theirs.explained_variance_ratio_)[:count])
    assert ours.mean == pytest.approx(theirs.mean_)
    along = np.abs(np.einsum("ij,ij->i", ours.components, theirs.components_[:count]))
    assert along == pytest.approx(np.ones(count))


def test_as_many_components_are_needed_as_hold_the_share() -> None:
    rows = np.diag([3.0, 2.0, 1.0])
    rows = np.concatenate([rows, -rows])  # variances as 9 : 4 : 1
    found = principal_components(rows)
    assert [found.needed(share) for share in (0.5, 9 / 14, 0.7, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("shape", [(5, 4), (10, 63), (2, 4096)])
def test_equal_images_have_no_component_and_nothing_to_whiten(shape: tuple[int, int]) -> None:
    rows = np.full(shape, 7 / 255)
    found = principal_components(rows)
    assert (len(found.variances), found.total) == (0, 0)
    white = whiten(rows, found)
    assert (white.clear, white.deviation, np.abs(white.rows).max()) == (0, 0, 0)


def test_the_covariance_after_whitening_is_the_identity_but_for_epsilon() -> None:
    rows = mixed(3000, 20)
    components = principal_components(rows)
    white = whiten(rows, components)
    covariance = np.cov(white.rows, rowvar=False)
    shrunk = components.variances / (components.variances + white.epsilon)
    assert np.linalg.eigvalsh(covariance)[::-1] == pytest.approx(np.sort(shrunk)[::-1])
    assert white.deviation == pytest.approx(1 - shrunk[: white.clear].min(), rel=1e-6)
    assert white.deviation <= 1 / views.CLEAR
    assert white.rounding < 1e-10


def test_zca_whitening_keeps_images_as_near_as_whitening_can() -> None:
    """Its matrix is symmetric with positive eigenvalues, which no rotated whitening has."""
    rows = mixed(500, 8)
    white = whiten(rows, principal_components(rows))
    matrix = np.linalg.lstsq(rows - rows.mean(0), white.rows, rcond=None)[0]
    assert matrix == pytest.approx(matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_a_wave_has_all_of_its_power_at_its_frequency() -> None:
    columns = np.arange(64)
    wave = np.tile(np.cos(2 * np.pi * 8 * columns / 64), (64, 1))
    found = spectrum(wave[None])
    assert found.frequencies[found.power.argmax()] == pytest.approx(8 / 64, abs=0.004)
    row, column = np.unravel_index(found.amplitudes.argmax(), found.amplitudes.shape)
    assert (row, abs(column - 32)) == (32, 8)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_the_exponent_of_a_spectrum_is_found(exponent: float) -> None:
    generator = np.random.default_rng(0)
    distance = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij"))
    amplitude = np.where(distance > 0, np.maximum(distance, 1e-9) ** (-exponent / 2), 0)
    noise = np.fft.fft2(generator.normal(size=(200, 64, 64)))
    found = spectrum(np.fft.ifft2(noise * amplitude).real)
    assert found.exponent == pytest.approx(exponent, abs=0.15)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32))
def test_the_energy_of_a_spectrum_is_that_of_its_image(rows: int, columns: int, seed: int) -> None:
    images = np.random.default_rng(seed).normal(size=(3, rows, columns))
    assert spectrum(images).parseval < 1e-10


def test_the_spectrum_is_numpys() -> None:
    image = np.random.default_rng(0).normal(size=(1, 16, 16))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(16) + 0.5) / 16)
    expected = np.abs(np.fft.fft2((image[0] - image[0].mean()) * np.outer(window, window)))
    assert spectrum(image).amplitudes == pytest.approx(np.log10(np.fft.fftshift(expected) + 1e-6))


def test_a_view_is_of_training_images_as_they_are_fitted() -> None:
    source = open_source("digits")
    data = gather(source, suitable_size(source), Loading())
    found = views.sampled(data)
    assert (found.rows.shape, found.shape, found.of) == ((1259, 64), (1, 8, 8), 1259)
    assert found.rows.max() <= 1


def test_large_frames_are_reduced_and_as_many_images_taken_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_NUMBERS", 30 * 3 * 64 * 64)
    data = gather(open_source("digits"), LookedAt((3, 80, 96), "for the test"), Loading())
    found = views.sampled(data)
    assert (found.rows.shape, found.shape) == ((30, 3 * 64 * 64), (3, 64, 64))
    assert views.sampled(data, grey=True).shape == (1, 64, 64)
