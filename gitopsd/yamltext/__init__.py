"""YAML and JSON text to plain values, read exactly as `kubectl` reads it, with every fault at its file and line."""

from gitopsd.yamltext.documents import MAX_BYTES, MAX_DOCUMENTS, PARSER_VERSION, Located, parse_documents
from gitopsd.yamltext.lines import LineIndex, line_of, line_within, parse_path

__all__ = [
    "MAX_BYTES",
    "MAX_DOCUMENTS",
    "PARSER_VERSION",
    "LineIndex",
    "Located",
    "line_of",
    "line_within",
    "parse_documents",
    "parse_path",
]
