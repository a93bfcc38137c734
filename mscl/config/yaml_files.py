"""Settings as YAML: read by one reader, with one clear line for whatever cannot be settings."""

from pathlib import Path
from typing import Any

import yaml

from mscl.errors import ConfigError

_MAX_BYTES = 1 << 20
_MAX_BITS = 63
_MAX_DEPTH = 5
_MAX_VALUES = 100_000


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections that a configuration file holds; an empty file holds none.

    Raises:
        ConfigError: no readable file, not UTF-8, not YAML, a name given twice, not a mapping.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"configuration file {path} does not exist; check the path") from error
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}; check the path") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(
            f"configuration file {path} has {len(content):,} bytes, too many for settings; check the path"
        )
    try:
        found = parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        byte, line = content[error.start], content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"configuration file {path} is not UTF-8 (byte 0x{byte:02x} in line {line}); save it as UTF-8"
        ) from error
    except ValueError as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"configuration file {path} must hold sections like `data: ...`, found {_kind(found)}")
    return found


def parse_yaml(text: str, *, names: bool = False) -> Any:
    """The value that YAML text stands for.

    Args:
        names: leave scalars as they are written: classes may be called 1, 2, 3.

    Raises:
        ValueError: it is no value; the message is one line.
    """
    try:
        found = yaml.load(text, _NameLoader if names else _Loader)
        _check_size(found, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        what = "" if isinstance(error, _UnfitError) else "not valid YAML: "
        raise ValueError(f"{what}{error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError("nested too deep to be settings; check the brackets") from error
    except OverflowError as error:
        raise ValueError(f"more than {_MAX_VALUES:,} values with all its aliases; check the `*`") from error
    return found


class _UnfitError(yaml.MarkedYAMLError):
    """YAML that no setting can be."""


def _refuse_twice(node: yaml.MappingNode) -> None:
    """The last of two values of one name would win without a word."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise _UnfitError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)


class _NameLoader(yaml.BaseLoader):
    """Leaves scalars as they are written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """No name twice."""
        _refuse_twice(node)
        return super().construct_mapping(node, deep=deep)


class _Loader(yaml.SafeLoader):
    """Refuses what YAML's own loader turns into another value, or into an error without a line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """No name twice."""
        _refuse_twice(node)
        return super().construct_mapping(node, deep=deep)

    def construct_checked(self, node: yaml.ScalarNode) -> Any:
        """A value that is not what its tag or form says, a number that YAML reads in another way than people do, or
        one beyond any setting."""
        try:
            found = yaml.SafeLoader.yaml_constructors[node.tag](self, node)
        except (ValueError, LookupError, AttributeError):  # what PyYAML raises for `!!int ""` and its like
            problem = f"is no {node.tag.rpartition(':')[2]}"
        else:
            if _read_otherwise(node.value, found):
                problem = f"is {found} to YAML (base 8 or 60); write a plain number, or a text in quotes"
            elif isinstance(found, int) and found.bit_length() > _MAX_BITS:
                problem = "is too large a number"
            else:
                return found
        raise _UnfitError(problem=f"{shortened(node.value)} {problem}", problem_mark=node.start_mark)


def _read_otherwise(text: str, found: Any) -> bool:
    """Whether a number stands for another one than its digits say: 010 is eight in YAML, 1:30 ninety."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    digits = text.replace("_", "").lstrip("+-")
    return ":" in digits or (digits.isdigit() and int(digits) != abs(found))


for _tag in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_checked)


def _check_size(value: Any, known: dict[tuple[int, int], int], depth: int = 0) -> int:
    """Number of values, those behind aliases counted as often as they are named. An alias may also hold itself."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if not isinstance(value, dict | list):
        return 1
    place = (id(value), depth)
    if place not in known:
        below = value.values() if isinstance(value, dict) else value
        known[place] = 1 + sum(_check_size(one, known, depth + 1) for one in below)
    if known[place] > _MAX_VALUES:
        raise OverflowError
    return known[place]


def shortened(text: str) -> str:
    """`text` as a message can hold it."""
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"


def _kind(found: Any) -> str:
    if isinstance(found, list):
        return "a list"
    return "a number" if isinstance(found, int | float) else "a text"
