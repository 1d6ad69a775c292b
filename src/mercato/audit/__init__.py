"""The audit: whether every promise holds, read from the databases at one instant.

`auditing.verify(store)` returns a `Report`: `checks` by name, each with how many things it looked
at and how many findings it has, and the `findings` themselves. `verify(store, settled=True)` is for
a platform that is known to be quiet, where nothing may be under way any more.
`repair.Repair(store)` applies what `planned(report)` says can be mended, and waits until it is
`answered`.
"""
