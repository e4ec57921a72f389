-- The change feed reports messages with readings, in pieces: the n-th of them is found without looking at the others.
DROP INDEX message_feed;
CREATE INDEX message_feed ON message (xid) WHERE state = 'stored' AND readings > 0;
-- When each station was heard last.
CREATE INDEX message_last ON message (station, id) WHERE state = 'stored';
