package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
)

// ErrJob says that a job cannot be queued as it is.
var ErrJob = errors.New("not a job")

// Job is a page to be fetched.
type Job struct {
	// ID names the job for ever: a second job of the same ID is a repeat. 1 to
	// 64 letters, digits, '-' and '_'. Empty: made from URL.
	ID string `json:"id"`
	// URL is the page's address, http or https, without user and password.
	URL string `json:"url"`
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// withID checks j and gives it an ID if it has none.
func (j Job) withID() (Job, error) {
	if j.ID == "" {
		sum := sha256.Sum256([]byte(j.URL))
		j.ID = hex.EncodeToString(sum[:16])
	}
	if !idPattern.MatchString(j.ID) {
		return j, fmt.Errorf("queue: job %q: %w: an ID has 1 to 64 letters, digits, '-' and '_'", j.ID, ErrJob)
	}
	u, err := url.Parse(j.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return j, fmt.Errorf("queue: job %s: %w: the address must begin with http:// or https:// and name a host", j.ID, ErrJob)
	case u.User != nil:
		return j, fmt.Errorf("queue: job %s: %w: a user name or password in the address would be kept and shown", j.ID, ErrJob)
	}
	return j, nil
}

func decodeJob(data []byte) (Job, error) {
	var j Job
	if err := json.Unmarshal(data, &j); err != nil {
		return Job{}, fmt.Errorf("%w: %w", ErrJob, err)
	}
	return j.withID()
}

// Check reports what keeps j from being queued.
func Check(j Job) error {
	_, err := j.withID()
	return err
}
