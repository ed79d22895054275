package tornet

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// A control is a connection to a node's control port, which speaks Tor's
// control-spec. It knows just enough to see whether a node is ready; the
// product's own client is not used to test the product.
type control struct {
	conn net.Conn
	in   *bufio.Reader
}

// dialControl connects to the control port with the node's cookie.
func (n *node) dialControl(ctx context.Context) (*control, error) {
	cookie, err := os.ReadFile(n.cookie)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.control)
	if err != nil {
		return nil, err
	}

	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &control{conn: conn, in: bufio.NewReader(conn)}
	code, text, err := c.command("AUTHENTICATE " + hex.EncodeToString(cookie))
	if err == nil && code != "250" {
		err = fmt.Errorf("AUTHENTICATE: %s %s", code, text)
	}

	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// get returns the node's value for a GETINFO key, or "" where it has none
// (control-spec §2.3, §3.9).
func (c *control) get(key string) (string, error) {
	code, value, err := c.command("GETINFO " + key)
	if err != nil || code != "250" {
		return "", err
	}
	_, value, _ = strings.Cut(value, "=")
	return strings.TrimSpace(value), nil
}

// command sends a command and returns the code and the text of its reply,
// without the final OK of a reply of several lines.
func (c *control) command(line string) (code, text string, err error) {
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		return "", "", err
	}

	var lines []string
	for {
		reply, err := c.line()
		if err != nil {
			return "", "", err
		}
		if len(reply) < 4 {
			return "", "", fmt.Errorf("reply %q", reply)
		}
		lines = append(lines, reply[4:])

		switch reply[3] {
		case '-':
			continue
		case '+':
			for {
				data, err := c.line()
				if err != nil {
					return "", "", err
				}
				if data == "." {
					break
				}
				lines = append(lines, data)
			}
			continue
		}

		if len(lines) > 1 {
			lines = lines[:len(lines)-1]
		}
		return reply[:3], strings.Join(lines, "\n"), nil
	}
}

func (c *control) line() (string, error) {
	line, err := c.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (c *control) close() { _ = c.conn.Close() }
