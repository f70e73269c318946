"""Adds the component to the package: the one that the host embeds, or, in a source archive, the one that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "kinesis_reader.wasm"


class ComponentHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / "src/kinesis_reader" / NAME).is_file():
            return
        component = root.parent.parent / "host/component" / NAME
        if not component.is_file():
            raise FileNotFoundError(f"no such component: {component}\nhint: in a checkout, run `cargo xtask guest`")
        folder = "kinesis_reader" if self.target_name == "wheel" else "src/kinesis_reader"
        build_data["force_include"][str(component)] = f"{folder}/{NAME}"
        license = root.parent.parent / "LICENSE"
        if self.target_name == "sdist":
            build_data["force_include"][str(license)] = "LICENSE"
