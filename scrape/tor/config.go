package tor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Config are the settings of a Tor in a form that a configuration file can
// hold; the zero Config is the Tor at 127.0.0.1:9050. See [Options] for the
// meaning of each.
type Config struct {
	// Container is the Docker name or id of the container that Tor runs in.
	Container string `koanf:"container" doc:"Docker name or id of the container that Tor runs in"`
	// Start runs a Tor process of the service's own.
	Start bool `koanf:"start" doc:"run a Tor process of the service's own"`
	// SOCKS and Control are Tor's ports, Password and CookieFile the way into
	// the latter.
	SOCKS      string        `koanf:"socks" doc:"Tor's SOCKS port; 127.0.0.1:9050 if empty"`
	Control    string        `koanf:"control" doc:"Tor's control port; none if empty"`
	Password   secret.Secret `koanf:"password" doc:"password of the control port"`
	CookieFile string        `koanf:"cookie_file" doc:"cookie file of the control port, if it lies elsewhere than Tor says"`
	// Timeout bounds each command on the control port.
	Timeout time.Duration `koanf:"timeout" doc:"bound on each answer of Tor's own"`
	// DockerSocket is where the Engine listens.
	DockerSocket string `koanf:"docker_socket" doc:"socket of the Docker Engine; /var/run/docker.sock if empty"`
	// Binary and DataDir are for Start.
	Binary  string `koanf:"binary" doc:"tor program, for start; tor from PATH if empty"`
	DataDir string `koanf:"data_dir" doc:"where the Tor of start keeps its data; a temporary folder if empty"`
}

// Options returns the Options that the settings stand for, or all that is
// wrong with them.
func (c Config) Options() (*Options, error) {
	var errs []error
	if c.Container != "" && c.Start {
		errs = append(errs, errors.New("tor: config: container and start are both set: choose one"))
	}
	if c.Container != "" && !isContainerName(c.Container) {
		errs = append(errs, fmt.Errorf("tor: config: %w: %q is no name and no id", ErrContainer, c.Container))
	}
	opts := &Options{
		SOCKS: c.SOCKS, Control: c.Control, Password: c.Password, CookieFile: c.CookieFile, Timeout: c.Timeout,
		DockerSocket: c.DockerSocket, Binary: c.Binary, DataDir: c.DataDir,
	}
	if _, err := opts.withDefaults(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return opts, nil
}

// Open returns the Tor that the settings name. Unless Start is set it makes no
// contact yet, so that a service can come up before its Tor does: a container
// is looked for when it is needed, and again when it is lost. With Start it is
// [Start], which takes a while. opts are the Options of c, with what the caller
// has added; nil takes them as they are.
func (c Config) Open(ctx context.Context, opts *Options) (*Tor, error) {
	if opts == nil {
		var err error
		if opts, err = c.Options(); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Start:
		return Start(ctx, opts)
	case c.Container == "":
		return New(opts)
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if !isContainerName(c.Container) {
		return nil, fmt.Errorf("tor: config: %w: %q is no name and no id", ErrContainer, c.Container)
	}
	return newContainer(c.Container, o), nil
}
