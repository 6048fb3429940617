"""The types of an algorithm's numbers, with their bounds."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# YAML reads 3e-4 as a string; a boolean is never a number.
Real = Annotated[float, BeforeValidator(lambda x: "a truth value" if isinstance(x, bool) else x)]
Positive = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[Real, Field(allow_inf_nan=False)]
Share = Annotated[Real, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class ConfigError(ValueError):
    """A wrong value: what was given, what is allowed, where to change it; one line."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # inf and null differ


class AlgorithmSettings(Strict):
    """The base of every algorithm's own settings.

    A float may differ between the runs of a fleet and reaches the algorithm as an [R] tensor;
    everything else is shared by the fleet.
    """

    name: str
    module: str | None = Field(default=None, exclude_if=lambda module: module is None)  # of algorithm=custom
