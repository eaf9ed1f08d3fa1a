"""The management page in a real browser: what a person does in the first five minutes."""

import base64
import json
import os
import pathlib
import urllib.request

import pika
import pytest

import browser
from browser import Browser
from cluster import Cluster, wait_for

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
# Where to leave pictures of every page, if anywhere.
PICTURES = os.environ.get("TERCET_PICTURES")


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def page(cluster):
    with Browser() as page:
        yield page


def address(node):
    return f"http://127.0.0.1:{node.http_port}"


def api(node, method, path, body=None):
    login = base64.b64encode(b"guest:guest").decode()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address(node)}/api/{path}", data, {"authorization": f"Basic {login}"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def channel(node):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port)).channel()


def series(page, name):
    """The value that a chart shows of a series now."""
    return page.run(
        "const shown = document.querySelector(`[data-series=${arguments[0]}]`); return shown ? Number(shown.dataset.value) : null", name
    )


def test_a_wrong_password_opens_nothing(cluster, page):
    page.go(address(cluster.wait_until_whole()))
    page.log_in("guest", "wrong")
    page.see("Wrong user or password", "#login-error")
    assert page.run("return sessionStorage.length") == 0


def test_logging_in_shows_a_cluster_that_says_what_to_try_first(cluster, page):
    page.go(address(cluster.wait_until_whole()))
    page.log_in("guest", "guest")
    page.see("three things to try", "#first-steps")
    assert page.errors() == []


def test_rates_and_depth_move(cluster, page):
    out = channel(cluster.nodes[0])
    out.queue_declare("moving", durable=True)
    page.go(f"{address(cluster.nodes[0])}/#/overview")
    assert series(page, "messages_ready") in (0, None)

    def publish_and_look():
        for _ in range(50):
            out.basic_publish("", "moving", b"x")
        return (series(page, "publish") or 0) > 0 and (series(page, "messages_ready") or 0) > 0

    wait_for(publish_and_look, 20, "a rate and a depth above zero")
    out.connection.close()


def test_a_queue_is_declared_filled_and_emptied(cluster, page):
    page.go(f"{address(cluster.nodes[0])}/#/queues")
    page.find("#declare-queue select[name=vhost]")
    page.run("document.querySelector('#declare-queue').closest('details').open = true")
    page.type("#declare-queue input[name=name]", "by-hand")
    page.click("#declare-queue button.main")
    page.click('a[href="#/queue/%2F/by-hand"]')
    page.type("#publish textarea[name=payload]", "written on the page")
    page.click("#publish button.main")
    page.see("1", "#ready")
    page.click("#get button.main")
    page.see("written on the page", "#messages")
    page.click("#purge")
    page.click("#confirm")
    page.see("0", "#ready")
    page.click("#delete")
    page.click("#confirm")
    page.find("#declare-queue")
    assert page.errors() == []


def test_text_of_users_is_no_markup(cluster, page):
    name = "<img src=x onerror=alert(1)>"
    out = channel(cluster.nodes[0])
    out.queue_declare(name)
    page.go(f"{address(cluster.nodes[0])}/#/queues")
    page.see(name, "main")
    assert page.run("return document.querySelectorAll('main img').length") == 0
    out.queue_delete(name)
    out.connection.close()


def test_a_failover_appears_with_its_phases(cluster, page):
    page.go(f"{address(cluster.nodes[0])}/#/cluster")
    page.find('[data-node="n1"]')
    before = page.run("return document.querySelectorAll('#failovers article').length")
    master = cluster.wait_until_whole()
    cluster.kill(master)
    alive = next(node for node in cluster.nodes if node is not master)
    page.go(f"{address(alive)}/#/cluster")
    page.go(address(alive))
    if page.run("return document.querySelector('#log-in') !== null"):
        page.log_in("guest", "guest")
        page.find("nav")
    page.go(f"{address(alive)}/#/cluster")

    def shown():
        return page.run("return document.querySelectorAll('#failovers article').length") > before

    wait_for(shown, 30, "one more failover on the page")
    for phase in ("agreed", "leases over", "fenced", "committed", "activated"):
        page.see(phase, "#failovers")
    cluster.start(master)
    cluster.wait_until_whole()


def test_who_may_not_administer_is_told_so(cluster, page):
    node = cluster.wait_until_whole()
    api(node, "PUT", "users/anna", {"password": "pw", "tags": "management"})
    api(node, "PUT", "users/nobody", {"password": "pw", "tags": ""})
    page.go(address(node))
    page.run("sessionStorage.clear()")
    page.go(f"{address(node)}/?")
    page.log_in("nobody", "pw")
    page.see("may not use the management page", "#login-error")
    page.log_in("anna", "pw")
    page.find("nav")
    page.go(f"{address(node)}/?#/admin")
    page.see("administer nothing", "#no-permission")


def test_every_page_fits_a_narrow_window(cluster, page):
    node = cluster.wait_until_whole()
    folder = pathlib.Path(PICTURES) if PICTURES else None
    page.go(address(node))
    page.run("sessionStorage.clear()")
    page.go(f"{address(node)}/?")
    page.log_in("guest", "guest")
    page.find("nav")
    for theme in ("light", "dark"):
        page.run("document.documentElement.dataset.theme = arguments[0]", theme)
        for view in ("overview", "cluster", "cache", "queues", "queue/%2F/moving", "exchanges", "connections", "channels", "admin"):
            page.resize(1280, 1000)
            page.run("location.hash = '#/' + arguments[0]", view)
            page.find("main h1")
            if folder:
                wait_for(lambda: page.run("return document.querySelectorAll('main .card').length > 0"), 10, view)
                page.picture(folder / f"{view.split('/')[0]}-{theme}.png")
            page.resize(500, 900)
            wide = page.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{view} is {wide} pixels wider than a narrow window"
            if folder and theme == "light":
                page.picture(folder / f"{view.split('/')[0]}-narrow.png")
    assert page.errors() == []
