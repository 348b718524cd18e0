"""Rows of context heads and real-time networks, made from tests/archs_table_context.py."""

from tests.arch_rows.row import Row
from tests.archs_table_context import CONTEXT

ROWS = {name: Row(**row) for name, row in CONTEXT.items()}
