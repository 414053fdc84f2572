"""What the tests share: real PostgreSQL clusters, a real server process. Fixtures stand in conftest.py."""
