//! AMQP 0-9-1: frames, field tables and the method table.
