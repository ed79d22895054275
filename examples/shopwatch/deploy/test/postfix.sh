#!/bin/bash
# usage: postfix.sh
# A mail server that takes mail from who logs in over TLS as watch@mail.test
# with the password in the secret mail_password, and keeps it all in
# /mail/inbox. saslpasswd2 changes the password.
set -euo pipefail
if [ ! -e /etc/postfix/main.cf ]; then
  cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
  cp -n /usr/share/postfix/master.cf.dist /etc/postfix/master.cf || true
  postconf -e compatibility_level=3.6 myhostname=mail.test mydestination= mynetworks=127.0.0.0/8 \
    inet_interfaces=all inet_protocols=ipv4 maillog_file=/dev/stdout smtpd_peername_lookup=no smtp_dns_support_level=disabled \
    smtpd_tls_security_level=encrypt smtpd_tls_auth_only=yes \
    smtpd_tls_cert_file=/run/secrets/tls_certificate smtpd_tls_key_file=/run/secrets/tls_key \
    smtpd_sasl_auth_enable=yes smtpd_sasl_local_domain=mail.test smtpd_sasl_security_options=noanonymous \
    'smtpd_relay_restrictions=permit_sasl_authenticated, reject' 'smtpd_recipient_restrictions=permit_sasl_authenticated, reject' \
    virtual_mailbox_domains=static:all virtual_mailbox_maps=static:inbox/ virtual_mailbox_base=/mail \
    virtual_uid_maps=static:65534 virtual_gid_maps=static:65534 alias_maps= alias_database=
  postconf -F '*/*/chroot=n'
  mkdir -p /etc/postfix/sasl /mail
  printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n' >/etc/postfix/sasl/smtpd.conf
  chown 65534:65534 /mail
  saslpasswd2 -p -c -u mail.test watch </run/secrets/mail_password
  chmod 644 /etc/sasldb2
fi
rm -f /var/spool/postfix/pid/*.pid
exec postfix start-fg
