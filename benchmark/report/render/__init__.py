"""Output formats of tables: terminal, Markdown, LaTeX, HTML page."""
