"""serve_tcp and serve_unix: servers whose connections end with them."""
