def test_echo(serve, origin, client):
    o = origin(); fw = serve()
    s = client.socks(fw.address(), o.address)
    s.sendall(b"hello"); s.shutdown(1)
    assert client.to_end(s) == b"hello"
    r = fw.wait_row(); print(r)
    fw.wait_base_line()
    fw.stop(); print(fw.stderr(), list(fw.state.iterdir()))
