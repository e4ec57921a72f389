-- Names of stations in the world's catalogue and in China's, and what was ever said of them.
ALTER TABLE station ADD wigos text UNIQUE CHECK (wigos ~ '^0-[0-9]{1,5}-[0-9]{1,5}-[0-9A-Za-z]{1,16}$');  -- WIGOS station identifier
ALTER TABLE station ADD gbt_2260 text CHECK (gbt_2260 ~ '^[0-9]{6}$');                                    -- GB/T 2260, where region is Chinese

CREATE TABLE catalogue_change (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made    timestamptz NOT NULL DEFAULT now(),
    who     text NOT NULL,
    station text,                    -- NULL of a cylinder
    what    text NOT NULL,           -- as 'station lin-an', 'port lin-an/g2301/1'
    before  jsonb,                   -- NULL where it was new
    after   jsonb NOT NULL
);
CREATE INDEX catalogue_change_station ON catalogue_change (station, id);
