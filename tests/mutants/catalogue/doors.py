"""Mutants: sending mails once, and letting in whom we know."""

from typing import Final

from tests.mutants.mutant import Edit, Mutant

MAILS: Final = (
    Mutant(
        "sent again after the dot",
        "a mail whose sender was lost around the final dot is sent again without a look",
        (
            Edit(
                "mailer/repository.py",
                'return {"state": State.PARKED, "not_before": due, "reason": reason}',
                'return {"state": State.NEW, "not_before": due, "reason": reason}',
            ),
        ),
    ),
    Mutant(
        "DOT after the dot",
        "that the final dot goes out is written down when it has gone out",
        (
            Edit(
                "mailer/smtp.py",
                "        if not await may_go() or line.closed:\n",
                "        if line.closed:\n",
            ),
            Edit(
                "mailer/smtp.py",
                "            (answer,) = await line.ask("
                "_ended(content), timeout_s=DOT_TIMEOUT_S)\n",
                "            (answer,) = await line.ask("
                "_ended(content), timeout_s=DOT_TIMEOUT_S)\n"
                "            await may_go()\n",
            ),
        ),
    ),
    Mutant(
        "a mail has another id each time",
        "a mail that is handed over again is another mail",
        (
            Edit(
                "order/peers.py",
                "        id=row.id, template=row.subject,",
                '        id=f"{row.id}:{row.emission}", template=row.subject,',
            ),
        ),
    ),
)

DOORS: Final = (
    Mutant(
        "any type of token",
        "a token's `typ` is not looked at: a user's token that says `service` is one",
        (
            Edit(
                "platform/tokens/access.py",
                'claims["role"] not in _ROLES[kind]',
                'claims["role"] not in sum(_ROLES.values(), ())',
            ),
        ),
        found_by="tests/platform/test_tokens.py::test_a_forgery_is_nobodys",
    ),
    Mutant(
        "tokens for ever",
        "a token's `exp` is not looked at",
        (Edit("platform/tokens/access.py", 'if claims["exp"] <= now:', "if False:"),),
        found_by="tests/platform/test_tokens.py::test_a_forgery_is_nobodys",
    ),
    Mutant(
        "Redis is asked ten times",
        "the client repeats what failed, and everybody waits for a Redis that is away",
        (Edit("platform/cache.py", "retry=Retry(NoBackoff(), 0)", "retry=Retry(NoBackoff(), 10)"),),
        found_by="tests/platform/test_cache.py::test_a_redis_that_hangs_holds_up_one_call_and_no_other",
        slow=True,
    ),
)
