"""What every plugin exports: its description."""

from pathlib import Path

from tenon.answer import description
from wit_world import exports

# Read while the component is built: a plugin has no files.
DESCRIPTION = Path(__file__).with_name("plugin.json").read_text()


class Plugin(exports.Plugin):
    def describe(self):
        return description(DESCRIPTION)
