"""All that this capability says to Blob and Table Storage. No error of a library leaves it."""
