"""`docs/settings.md`, made from the code by `make settings`."""

from pydantic import BaseModel

from mscl.config.commented_yaml import value_text
from mscl.config.describe import help_of, sections_of, settings_of
from mscl.config.experiment import ExperimentConfig

_HEAD = """# Settings

Every setting belongs to a section. Presets, YAML files, `section.name=value` on the command line, and the forms of the
Prefect UI all set the same names; unknown names are refused. What is in `runtime` changes no result; everything else is
part of the key of the stages that it touches.

```sh
mscl config ucf101 > mine.yaml             # every setting with its help: change it, then `mscl run mine.yaml`
mscl config ucf101+linear clip.stride=4 --changed   # only what differs from ucf101
mscl config --schema > mscl.schema.json    # for editors: `# yaml-language-server: $schema=mscl.schema.json`
```

Later layers win: defaults, the file's `base`, the file, overlays from left to right, the command line or the form.
Where one of them says `pretrain.epochs` and not `pretrain.min_steps`, the latter falls back to 0.

The defaults below are those of the code, the paper's; presets change them. This page is made from the code by
`make settings`."""


def settings_page() -> str:
    """The page as Markdown."""
    return "\n\n".join([_HEAD, *_sections(ExperimentConfig(), "")]) + "\n"


def _sections(section: BaseModel, path: str) -> list[str]:
    blocks = []
    for name, below in sections_of(section).items():
        rows = ["| setting | values | default | what |", "|---|---|---|---|"]
        for s in settings_of(below):
            default = f"`{value_text(s.value)}`" if s.value != "" else ""
            cells = (f"`{s.name}`", s.values, default, s.help)
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        inner = f"{path}{name}"
        blocks += [f"## {inner}\n\n{help_of(below)}\n\n" + "\n".join(rows), *_sections(below, f"{inner}.")]
    return blocks


if __name__ == "__main__":
    print(settings_page(), end="")
