"""Context heads and real-time nets, the rows of tests/archs_table_context.py in the contract."""

from tests.arch_rows.row import Row
from tests.archs_table_context import CONTEXT

ROWS = {name: Row(**row) for name, row in CONTEXT.items()}
