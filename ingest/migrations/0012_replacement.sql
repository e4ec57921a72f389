-- A replacement is whole once its window has been made again; a run that was ended between does it when it goes on.
ALTER TABLE replacement ADD applied timestamptz;
UPDATE replacement SET applied = made;
