package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
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
	// Again asks for the page also if there is a result, which the new one
	// replaces.
	Again bool `json:"again,omitempty"`
	// Every asks for the page again so long after it was fetched or given up, and
	// so on until [Queue.Unschedule]. Zero: once; else at least [MinEvery], and
	// Again holds. A job has one schedule: the last that was given.
	Every time.Duration `json:"every,omitempty"`
}

// MinEvery is the shortest schedule.
const MinEvery = time.Second

// replaces reports whether a result that is there is replaced.
func (j Job) replaces() bool { return j.Again || j.Every > 0 }

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// maxURL is how long an address may be: results and dead letters carry it in a
// header.
const maxURL = 2048

// withID checks j, brings its address into one form, and gives it an ID if it
// has none.
func (j Job) withID() (Job, error) {
	u, err := url.Parse(j.URL)
	switch {
	case len(j.URL) > maxURL:
		return j, fmt.Errorf("queue: job %s: %w: the address has %d bytes, and at most %d are kept", j.name(), ErrJob, len(j.URL), maxURL)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return j, fmt.Errorf("queue: job %s: %w: the address must begin with http:// or https:// and name a host", j.name(), ErrJob)
	case u.User != nil:
		return j, fmt.Errorf("queue: job %s: %w: a user name or password in the address would be kept and shown", j.name(), ErrJob)
	case j.Every != 0 && j.Every < MinEvery:
		return j, fmt.Errorf("queue: job %s: %w: every %v: at least %v, or 0 for once", j.name(), ErrJob, j.Every, MinEvery)
	}

	j.URL = canonical(u)
	if j.ID == "" {
		sum := sha256.Sum256([]byte(j.URL))
		j.ID = hex.EncodeToString(sum[:16])
	}
	if !idPattern.MatchString(j.ID) {
		return j, fmt.Errorf("queue: job %q: %w: an ID has 1 to 64 letters, digits, '-' and '_'", j.ID, ErrJob)
	}
	return j, nil
}

// canonical returns an address such that one page has one: without the
// scheme's own port and what is after #, the host in lower case, and a path.
// RFC 3986, section 6.2.2.1 and 6.2.3.
func canonical(u *url.URL) string {
	c := *u
	c.Host = strings.ToLower(c.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[c.Scheme]; strings.HasSuffix(c.Host, port) {
		c.Host = strings.TrimSuffix(c.Host, port)
	}
	c.Fragment, c.RawFragment = "", ""
	if c.Path == "" {
		c.Path = "/"
	}
	return c.String()
}

// name is how an error calls a job: by its ID, or by its address, unless that
// may hold a password.
func (j Job) name() string {
	const shown = 100
	switch {
	case j.ID != "":
		return strconv.Quote(j.ID)
	case strings.Contains(j.URL, "@"):
		return "(an address with @)"
	case len(j.URL) > shown:
		return strconv.Quote(j.URL[:shown] + "…")
	}
	return strconv.Quote(j.URL)
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
