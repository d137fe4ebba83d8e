"""Production notebooks: papermill runs them, `otsport run NAME` finds them here."""
