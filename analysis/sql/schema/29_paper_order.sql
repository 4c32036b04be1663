-- paper_order(dataset): the place of a data set among those of the paper's Table 1, simplest first.
create macro paper_order(dataset) as list_position(['svhn', 'mnist', 'cifar10'], dataset)
