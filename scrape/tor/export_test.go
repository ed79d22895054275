package tor

import "context"

// Command sends a control command as it is.
func (t *Tor) Command(ctx context.Context, line string) error {
	c, err := t.controlAt(ctx)
	if err != nil {
		return err
	}
	_, err = c.command(ctx, line)
	return err
}

// ParseCircuit reads a line of circuit-status.
func ParseCircuit(line string) (status string, path []string, user string, ok bool) {
	c, ok := parseCircuit(line)
	return c.status, c.path, c.fields["SOCKS_USERNAME"], ok
}

// PID is the process that Start runs.
func (t *Tor) PID() int { return t.process.cmd.Process.Pid }

// Field reads key=value in a line of Tor's.
func Field(line, key string) string { return field(line, key) }
