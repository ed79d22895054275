package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // what Tor's format is made of
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// hashPassword gives the form in which torrc holds a password: RFC 2440's
// iterated and salted S2K with SHA-1 and the count 0x60, as in
// `tor --hash-password`, but without the password in a list of processes.
func hashPassword(password string, salt [8]byte) string {
	const indicator = 0x60
	const count = (16 + indicator&15) << (indicator>>4 + 6) // RFC 2440 §3.6.1.3
	salted := append(salt[:], password...)
	sum := sha1.New() //nolint:gosec // as above
	for left := count; left > 0; left -= len(salted) {
		sum.Write(salted[:min(left, len(salted))])
	}
	return fmt.Sprintf("16:%s%02X%s", strings.ToUpper(hex.EncodeToString(salt[:])), indicator,
		strings.ToUpper(hex.EncodeToString(sum.Sum(nil))))
}

// bootstrapped asks Tor's control port how far it has come (control-spec
// §3.10, status/bootstrap-phase), and returns nil at 100 %.
func bootstrapped(ctx context.Context, addr, password string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	} else if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}

	text := textproto.NewConn(conn)
	// QuotedString escapes the backslash and the quote (control-spec §2.1.1).
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password)
	if err := text.PrintfLine(`AUTHENTICATE "%s"`, quoted); err != nil {
		return err
	}

	if _, _, err := text.ReadResponse(250); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if err := text.PrintfLine("GETINFO status/bootstrap-phase"); err != nil {
		return err
	}
	_, answer, err := text.ReadResponse(250)
	if err != nil {
		return fmt.Errorf("bootstrap phase: %w", err)
	}

	phase, _, _ := strings.Cut(answer, "\n")
	for word := range strings.FieldsSeq(phase) {
		if word == "PROGRESS=100" {
			return nil
		}
	}

	return errors.New("not ready: " + strings.TrimPrefix(phase, "status/bootstrap-phase="))
}
