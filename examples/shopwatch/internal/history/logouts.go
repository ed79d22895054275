package history

import (
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Logouts are the sessions that ended before their time, as auth remembers them
// across restarts. They lie in the history because that is the file that the
// service keeps.
type Logouts struct{ store *Store }

// Logouts returns those of the store.
func (s *Store) Logouts() Logouts { return Logouts{s} }

// End remembers that the session called id, which would last until until, has
// ended.
func (l Logouts) End(id string, until time.Time) error {
	err := l.store.update(func(tx *bbolt.Tx) error {
		text, err := json.Marshal(until.UTC())
		if err != nil {
			return err
		}
		return tx.Bucket(bucketLogouts).Put([]byte(id), text)
	})
	if err != nil {
		return fmt.Errorf("history: end a session: %w", err)
	}
	return nil
}

// Ended returns the sessions that would still last, and forgets the others.
func (l Logouts) Ended() (map[string]time.Time, error) {
	now, ended := time.Now(), map[string]time.Time{}
	err := l.store.update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketLogouts)
		var over [][]byte // a bucket must not be changed while it is walked
		err := bucket.ForEach(func(id, text []byte) error {
			var until time.Time
			if err := json.Unmarshal(text, &until); err != nil {
				return fmt.Errorf("session %q: %w", id, err)
			}
			if until.Before(now) {
				over = append(over, id)
			} else {
				ended[string(id)] = until
			}
			return nil
		})
		if err != nil {
			return err
		}

		for _, id := range over {
			if err := bucket.Delete(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("history: ended sessions: %w", err)
	}
	return ended, nil
}
