"""Alembic's entry: runs the migrations inside the transaction that `migrate.upgrade` has begun."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations are run by `ppacer db upgrade`, or by the scheduler at its start")
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
