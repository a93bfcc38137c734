"""Our top-level package `kernels` beside Hugging Face's of the same name: the one that is installed last wins."""

from importlib.util import find_spec
from pathlib import Path

OURS = "mscl-pipeline"
ADVICE = (
    "Hugging Face's `kernels` has the same name: give each an environment of its own, or run "
    f"`pip uninstall kernels` and `pip install --force-reinstall --no-deps {OURS}`"
)


def check_kernels() -> None:
    """Refuse to begin with a package `kernels` that is not ours.

    Raises:
        ImportError: it is another's, or not there; its `name` is "kernels".
    """
    spec = find_spec("kernels")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    if not any((Path(place) / "tvl1" / "params.py").is_file() for place in places):
        found = places[0] if places else "nowhere"
        raise ImportError(f"the package `kernels` of {OURS} is not there (found: {found}). {ADVICE}", name="kernels")


def others() -> list[str]:
    """Other installed distributions that bring a top-level package `kernels`."""
    from importlib.metadata import packages_distributions  # reads every distribution's files

    return sorted({*packages_distributions().get("kernels", ())} - {OURS})
