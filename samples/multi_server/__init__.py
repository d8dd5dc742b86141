"""Several servers behind one client: each chat is at the server that its id says."""
