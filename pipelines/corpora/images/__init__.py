"""Pictures with classes: a folder, a zip archive or a table of paths -> Examples and faults."""
