"""A process that waits for a line, takes a product inside a transaction, and never lets go.

`python -m tests.proof.holder MONGO_URI DATABASE PRODUCT_ID`; says "held" when it has the product.
"""

import sys
import time

from bson import ObjectId
from pymongo import MongoClient


def main() -> None:
    uri, database, product_id = sys.argv[1:]
    client: MongoClient[dict[str, object]] = MongoClient(uri)
    client.admin.command("ping")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with client.start_session() as session, session.start_transaction():
        touch = {"$inc": {"version": 1}}
        products = client[database]["products"]
        products.update_one({"_id": ObjectId(product_id)}, touch, session=session)
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(3600)


if __name__ == "__main__":
    main()
