package scrape

import (
	"context"
	"io"
	"net/http"
)

// Session keeps one identity, with its exit, connections, cookies and user
// agent, for as long as it is held: for a log-in and the pages behind it. Make
// one with [Client.Session]; end it with Close. Safe for concurrent use.
//
// Its requests obey HostLimit, Retry, Robots and Limits like all others. They do
// not count for Rotation, never fall back to this machine's own address, and
// fail while the way out of the identity is lost.
type Session struct {
	client *Client
	id     *identity
}

// Session returns a session with an identity of its own.
func (c *Client) Session(ctx context.Context) (*Session, error) {
	id, err := c.ids.pinned(ctx)
	if err != nil {
		return nil, &Error{Op: "session", Err: err}
	}
	return &Session{client: c, id: id}, nil
}

// Get is [Client.Get] by the session's identity.
func (s *Session) Get(ctx context.Context, address string) (*http.Response, error) {
	return s.client.get(ctx, s, address)
}

// Post is [Client.Post] by the session's identity.
func (s *Session) Post(ctx context.Context, address, contentType string, body io.Reader) (*http.Response, error) {
	return s.client.post(ctx, s, address, contentType, body)
}

// Do is [Client.Do] by the session's identity.
func (s *Session) Do(req *http.Request) (*http.Response, error) { return s.client.do(req, s) }

// Transport is [Client.Transport] by the session's identity.
func (s *Session) Transport() http.RoundTripper {
	return &transport{client: s.client, session: s}
}

// Identity returns what is known of the identity now.
func (s *Session) Identity() Identity { return s.id.snapshot() }

// Close ends the session; what is under way goes on, and a request after it is
// sent by the same identity on a new connection. It returns nil.
func (s *Session) Close() error {
	s.id.retire()
	return nil
}
