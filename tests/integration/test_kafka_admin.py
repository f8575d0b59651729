"""What asks the broker, by a client that several threads share."""

import threading
import time

from consumers.kafka_admin import KafkaAdmin
from streamer.config.tree import Config


class Hurried:
    """A client whose calls end all at once where two are made side by side."""

    def __init__(self) -> None:
        self.within, self.side_by_side = 0, False

    def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        del names
        self.within += 1
        self.side_by_side |= self.within > 1
        time.sleep(0.02)
        self.within -= 1
        return []


def test_threads_that_share_what_asks_the_broker_ask_one_after_the_other():
    admin, client = KafkaAdmin(Config()), Hurried()
    admin._client = client
    threads = [threading.Thread(target=admin.ids, args=([],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not client.side_by_side
