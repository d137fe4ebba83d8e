"""Runs the migrations on the connection that `otsport.data.store` hands over, inside its transaction."""
from alembic import context

from otsport.data.tables import META

context.configure(connection=context.config.attributes["connection"], target_metadata=META)
with context.begin_transaction():
    context.run_migrations()
