"""Sections: frozen, merged by name, said in the form, each setting with its help."""

import pytest
from pydantic import ValidationError

from mscl.config import PretrainConfig, load_config, merge_section


def test_a_section_given_in_part_keeps_the_presets_other_values() -> None:
    base = load_config("demo").pretrain
    merged = PretrainConfig.model_validate(merge_section(base, PretrainConfig(batch_size=16)))
    assert merged == base.model_copy(update={"batch_size": 16})


def test_epochs_of_a_form_count_and_the_presets_least_number_of_steps_does_not() -> None:
    base = load_config("demo").pretrain
    merged = PretrainConfig.model_validate(merge_section(base, PretrainConfig(epochs=3)))
    assert merged == base.model_copy(update={"epochs": 3, "min_steps": 0})


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_config("demo").pretrain.epochs = 3  # type: ignore[misc]
