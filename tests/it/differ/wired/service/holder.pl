# Plays systemd's socket activation (Accept=no, StandardInput=socket, Restart=always).
use strict;
use warnings;
use POSIX ();
use Socket;

my ($path, @start) = @ARGV;
my $worker;
socket(my $socket, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
unlink $path;
umask 0177;
bind($socket, pack_sockaddr_un($path)) or die "bind: $!";
listen($socket, 128) or die "listen: $!";
umask 0022;
$SIG{TERM} = sub {
    if ($worker) { kill 'TERM', $worker; waitpid $worker, 0; }
    unlink $path;
    exit 0;
};
while (1) {
    vec(my $ready = '', fileno($socket), 1) = 1;
    select($ready, undef, undef, undef) > 0 or next;
    $worker = fork // die "fork: $!";
    if (!$worker) {
        $SIG{TERM} = 'DEFAULT';
        POSIX::dup2(fileno($socket), 0);
        exec @start or die "exec: $!";
    }
    open(my $file, '>', '/run/stand-in/worker') or die "open: $!";
    print $file $worker;
    close $file;
    waitpid $worker, 0;
    $worker = undef;
    unlink '/run/stand-in/worker';
    select(undef, undef, undef, 0.05);
}
