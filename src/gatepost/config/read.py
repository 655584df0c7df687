"""Reads the configuration file into one frozen value, or says all that is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from gatepost.config.assemble import assemble
from gatepost.config.document import read_document
from gatepost.config.model import Config
from gatepost.config.problem import ConfigError, Problems
from gatepost.config.sections import read_sections


def load(file: Path) -> Config:
    """The configuration that `file` holds. Raises ConfigError with every mistake that was found."""
    file = Path(os.path.abspath(file))
    document, lines = read_document(file)
    problems = Problems(file, lines)
    sections = read_sections(document, problems)
    config = assemble(sections, problems)
    if problems.errors or config is None:
        raise ConfigError(tuple(problems.errors))
    return config
