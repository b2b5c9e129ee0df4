"""What the pages that Rung serves have in common: a guarded door, a socket, a page."""
