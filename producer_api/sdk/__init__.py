"""The client of Kafka for services that publish requests or take results; ``producer_api`` exports what is public."""
