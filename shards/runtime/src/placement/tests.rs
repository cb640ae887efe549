use super::*;

/// CPUs from `(id, node, core)`.
fn topology(cpus: impl IntoIterator<Item = (usize, usize, usize)>) -> Topology {
    let cpus = cpus.into_iter().map(|(id, node, core)| Cpu { id, node, core }).collect();
    Topology { cpus, ..Topology::default() }
}

/// `cores` cores without siblings, on one node.
fn plain(cores: usize) -> Topology {
    topology((0..cores).map(|id| (id, 0, id)))
}

/// `nodes` nodes of `cores` cores with two hardware threads each, numbered as Linux does: all first threads, then all second ones.
fn server(nodes: usize, cores: usize) -> Topology {
    let all = nodes * cores;
    topology((0..2 * all).map(|id| (id, id % all / cores, id % all)))
}

#[test]
fn placement_follows_the_number_of_cores() {
    let cases = [
        ("one core is shared", plain(1), vec![0], vec![0]),
        ("two cores: a shard and the rest", plain(2), vec![1], vec![0]),
        ("four cores: still one shard", plain(4), vec![1], vec![0, 2, 3]),
        ("fifteen cores: still one shard", plain(15), vec![1], (0..15).filter(|&id| id != 1).collect()),
        ("sixteen cores: two", plain(16), vec![1, 2], (0..16).filter(|id| ![1, 2].contains(id)).collect()),
        ("one core of two hardware threads", topology([(0, 0, 0), (1, 0, 0)]), vec![0], vec![1]),
        (
            "two cores of two hardware threads: the shard's sibling stays free",
            topology([(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1)]),
            vec![1],
            vec![0, 2],
        ),
        ("CPUs allowed in the middle", topology([(5, 0, 5), (6, 0, 6)]), vec![5], vec![6]),
        (
            "a lonely CPU on each of two nodes leaves one for control",
            topology([(0, 0, 0), (8, 1, 8)]),
            vec![0],
            vec![8],
        ),
    ];
    for (case, topology, shards, control) in cases {
        assert_eq!(Placement::auto(&topology), Placement { shards, control }, "{case}");
    }
}

#[test]
fn each_node_gets_a_shard_and_siblings_stay_free() {
    let two_nodes = Placement::auto(&server(2, 4));
    assert_eq!(two_nodes.shards, [1, 4], "one on each node, CPU 0 avoided");
    assert_eq!(
        two_nodes.control,
        [0, 2, 3, 5, 6, 7, 8, 10, 11, 13, 14, 15],
        "without CPUs 9 and 12, the shards' siblings"
    );

    let large = Placement::auto(&server(2, 64));
    assert_eq!(large.shards.len(), 16);
    assert_eq!(large.shards.iter().filter(|&&id| id < 64).count(), 8, "evenly over the nodes");
}

#[test]
fn the_quota_counts_like_missing_cores() {
    let mut limited = plain(32);
    for (quota, shards) in [(None, 4), (Some(16_000), 2), (Some(2_500), 1), (Some(100), 1)] {
        limited.quota_millicpus = quota;
        assert_eq!(Placement::auto(&limited).shards.len(), shards, "with {quota:?}");
    }
}

#[test]
fn whatever_the_machine_the_rules_hold() {
    for nodes in 1..5 {
        for cores in 1..20 {
            let topology = server(nodes, cores);
            let placement = Placement::auto(&topology);
            let core_of = |id: &usize| topology.cpus[*id].core;
            let shard_cores: BTreeSet<_> = placement.shards.iter().map(core_of).collect();
            assert_eq!(shard_cores.len(), placement.shards.len(), "no two shards on one core");
            assert!(!placement.shards.is_empty() && !placement.control.is_empty());
            assert!(placement.control.iter().all(|id| !placement.shards.contains(id)));
            if nodes * cores > 1 {
                assert!(
                    placement.control.iter().any(|id| !shard_cores.contains(&core_of(id))),
                    "a core without a shard"
                );
            }
        }
    }
}

#[test]
fn this_machine_can_be_read_and_threads_pinned() {
    let topology = Topology::read().unwrap();
    let placement = Placement::auto(&topology);
    let shard = placement.shards[0];
    let seen = std::thread::spawn(move || {
        pin_current_thread(&[shard]).unwrap();
        Topology::read().unwrap().cpus.iter().map(|cpu| cpu.id).collect::<Vec<_>>()
    });
    assert_eq!(seen.join().unwrap(), [shard]);
}

#[test]
fn pinning_to_a_cpu_that_is_not_there_names_it() {
    let error = pin_current_thread(&[1_000]).unwrap_err();
    assert!(error.to_string().contains("[1000]"), "{error}");
}
