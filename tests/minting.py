"""Tokens as the user service of a platform makes them, for tests that need many or odd ones."""

from mercato.embedded import keys
from mercato.embedded.supervisor import Platform
from mercato.platform.settings import Settings, load
from mercato.platform.tokens import Tokens


def minting(platform: Platform) -> Tokens:
    private, _ = keys.files(platform.data_dir)
    return Tokens.of(load(Settings, platform.environment), keys_file=str(private))
