"""The mutants: each takes away one thing that a promise rests on."""

from typing import Final

from tests.mutants.catalogue.doors import DOORS, MAILS
from tests.mutants.catalogue.orders import ORDERS
from tests.mutants.catalogue.stock import STOCK
from tests.mutants.catalogue.telling import TELLING
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = TELLING + STOCK + ORDERS + MAILS + DOORS
