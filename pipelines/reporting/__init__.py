"""Pages and terminal tables of reports, comparisons, grids, inspections and studies."""
